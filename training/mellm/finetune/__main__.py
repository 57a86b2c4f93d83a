"""``torchrun --nproc-per-node 4 -m mellm.training.mellm.finetune --config FILE``: one run on several GPUs."""

import sys

from mellm.training.mellm.finetune.cli import main

sys.exit(main())

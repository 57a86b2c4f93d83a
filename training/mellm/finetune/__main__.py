"""``torchrun --nproc-per-node 4 -m training.mellm.finetune --config FILE``: one run on several GPUs."""

import sys

from training.mellm.finetune.cli import main

sys.exit(main())

"""``mellm eval``, ``mellm train`` and ``mellm dataset``: verbs whose code lives in `evaluation` and `training`."""

from __future__ import annotations

import click

from mellm.clients.cli.lazy import LazyGroup, Verb


@click.group(
    cls=LazyGroup,
    verbs={
        "spotter": Verb("mellm.training.spotter.cli:command", "Train the spotter.", "train"),
        "sensitivity": Verb(
            "mellm.training.spotter.sensitivity_cli:command",
            "Fit how small a motion the spotter finds.",
            "train",
        ),
        "nano": Verb("mellm.training.mellm.cli:command", "Train the embedded describer.", "train"),
        "mellm": Verb("mellm.training.mellm.finetune.cli:command", "Tune a multimodal model.", "train"),
    },
)
def train() -> None:
    """Train models on synthetic faces (extra `train`)."""


@click.group(
    cls=LazyGroup,
    verbs={
        "build": Verb("mellm.training.instruct.cli:build_command", "Build instruction data.", "train"),
        "lint": Verb("mellm.training.instruct.cli:lint_command", "Check instruction data.", "train"),
        "inspect": Verb("mellm.evaluation.datasets.cli:run", "Show what a data set holds.", "eval"),
    },
)
def dataset() -> None:
    """Build and check instruction data, look at data sets (extras `train`, `eval`)."""


@click.group(
    cls=LazyGroup,
    verbs={
        "spotting": Verb("mellm.evaluation.spotting.cli:spotting", "Score spotters.", "cpu,train,eval"),
        "spotting-datasets": Verb(
            "mellm.evaluation.dataset_runs.cli:spotting",
            "Score the spotter on data sets that you hold (also `spotting --dataset`).",
            "cpu,train,eval",
        ),
        "recognition": Verb(
            "mellm.evaluation.dataset_runs.cli:recognise", "Score classes on data sets.", "cpu,train,eval"
        ),
        "understanding": Verb(
            "mellm.evaluation.dataset_runs.cli:understand", "Score units and questions.", "cpu,train,eval"
        ),
        "describing": Verb(
            "mellm.evaluation.describing.cli:describing", "Score describers.", "cpu,train,eval"
        ),
        "robustness": Verb(
            "mellm.evaluation.robustness.cli:robustness",
            "Show how scores fall as pictures get worse.",
            "cpu,train,eval",
        ),
        "metrics": Verb("mellm.evaluation.metrics.cli:command", "Score files by challenge metrics.", "eval"),
        "corrections": Verb(
            "mellm.evaluation.corrections.cli:command",
            "Score a run against corrections made in ELAN or a table.",
            "eval",
        ),
    },
)
def evaluate() -> None:
    """Measure the project against known truth (extras `train` and `eval`)."""

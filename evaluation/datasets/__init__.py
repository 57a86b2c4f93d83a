"""Loaders for data sets that users hold under their own licence (extra `eval`). None is part of this project."""

from mellm.evaluation.datasets.clips import Clip, Frames
from mellm.evaluation.datasets.errors import DatasetError, SheetError
from mellm.evaluation.datasets.load import APEX_POLICIES, OFFSET_POLICIES, DataSet, load
from mellm.evaluation.datasets.rows import RULES, Repair
from mellm.evaluation.datasets.specs import SPECS, Spec
from mellm.evaluation.datasets.units import ActionUnits, Unit, parse_units

__all__ = [
    "APEX_POLICIES",
    "OFFSET_POLICIES",
    "RULES",
    "SPECS",
    "ActionUnits",
    "Clip",
    "DataSet",
    "DatasetError",
    "Frames",
    "Repair",
    "SheetError",
    "Spec",
    "Unit",
    "load",
    "parse_units",
]

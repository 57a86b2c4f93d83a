"""Names of action units in two languages: English, Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

UNITS: Final[Mapping[int, tuple[str, str]]] = {
    1: ("inner brow raiser", "内侧眉毛上抬"),
    2: ("outer brow raiser", "外侧眉毛上抬"),
    4: ("brow lowerer", "眉毛下压"),
    5: ("upper lid raiser", "上眼睑上抬"),
    6: ("cheek raiser", "脸颊上抬"),
    7: ("lid tightener", "眼睑收紧"),
    8: ("lips toward each other", "嘴唇相向"),
    9: ("nose wrinkler", "皱鼻"),
    10: ("upper lip raiser", "上唇上抬"),
    11: ("nasolabial deepener", "鼻唇沟加深"),
    12: ("lip corner puller", "嘴角上拉"),
    13: ("sharp lip puller", "嘴角急上拉"),
    14: ("dimpler", "嘴角收紧"),
    15: ("lip corner depressor", "嘴角下拉"),
    16: ("lower lip depressor", "下唇下拉"),
    17: ("chin raiser", "下巴上推"),
    18: ("lip pucker", "噘嘴"),
    20: ("lip stretcher", "嘴唇拉伸"),
    22: ("lip funneler", "嘴唇外翻"),
    23: ("lip tightener", "嘴唇收紧"),
    24: ("lip pressor", "嘴唇紧压"),
    25: ("lips part", "双唇分开"),
    26: ("jaw drop", "下颌下落"),
    27: ("mouth stretch", "张大嘴"),
    28: ("lip suck", "抿唇"),
    31: ("jaw clencher", "咬紧下颌"),
    38: ("nostril dilator", "鼻孔扩张"),
    39: ("nostril compressor", "鼻孔收缩"),
    43: ("eye closure", "闭眼"),
    45: ("blink", "眨眼"),
}

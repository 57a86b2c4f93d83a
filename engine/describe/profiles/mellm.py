"""The published MELLM models: v1 sees the colour map and is asked in Chinese, v3 reads the region table.

The questions are this project's own words for the procedure those models were tuned on (inspect, infer action
units, conclude). v3 was trained on the flow of its own network; ours stands in for it, so results through that
profile are approximate. Both reason before they conclude, v3 possibly in a ``<think>`` block of some thousand tokens:
hence the room for an answer, and a deadline to match (``describer.timeout_s``, ``describer.deadline_s``).
"""

from __future__ import annotations

from mellm.engine.describe.base import DescribeContext
from mellm.engine.describe.profiles import Message, Profile, image_part, region_table
from mellm.engine.describe.prose import parse_prose
from mellm.engine.types import Evidence

_V1 = (
    "这张图是一个微表情从起始帧到顶点帧的运动增强图: 灰度人脸上叠加了光流颜色。"
    "颜色表示运动方向: 上=紫, 右上=品红, 右=红, 右下=橙黄, 下=黄绿, 左下=绿, 左=青, 左上=蓝; "
    "亮度表示运动幅度。请分三步回答: 一、逐个面部区域观察颜色块, 忽略整体头部运动和很暗的区域, 推断可能的动作单元; "
    "二、根据动作单元及其组合进行推理; 三、给出结论: 列出动作单元 (写作 AU 加数字) 和最终的微表情类别。"
)

_V3 = (
    "The table lists facial regions with the motion between the onset and the apex of a micro-expression, head "
    "motion removed. Magnitudes are in pixels; directions are angles counter-clockwise from the picture's "
    "right, so up is 90°.\n{table}\n"
    "First find the regions that clearly move and infer the action units. Then reason step by step towards a "
    "category. Finish with one line that lists the action units and one line with the micro-expression: "
    "Negative, Positive or Surprise."
)


def _messages_v1(evidence: Evidence, context: DescribeContext) -> list[Message]:
    return [{"role": "user", "content": [image_part(evidence), {"type": "text", "text": _V1}]}]


def _messages_v3(evidence: Evidence, context: DescribeContext) -> list[Message]:
    return [{"role": "user", "content": _V3.format(table=region_table(evidence))}]


V1 = Profile("mellm-v1", "1", "mellm-v1", _messages_v1, parse_prose, max_tokens=2048)
V3 = Profile("mellm-v3", "1-approximate", "mellm-v3", _messages_v3, parse_prose, max_tokens=4096)

"""The documentation site: ``make docs``. Pages are Markdown, the reference comes from the code."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from mellm.stream.protocol.client_messages import MESSAGES
from mellm.stream.protocol.schema import SAID, document

project = "mellm-live"
author = "the mellm-live authors"
release = importlib.metadata.version("mellm-live")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_click", "sphinx_copybutton"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]
root_doc = "index"

html_theme = "furo"
html_title = "mellm-live"
html_static_path: list[str] = []
html_show_sourcelink = False
html_copy_source = False
templates_path: list[str] = []

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": True}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
# what an extra or a GPU would bring is not needed to read a signature
autodoc_mock_imports = ["vllm", "llguidance"]
nitpicky = False
suppress_warnings: list[str] = []


def setup(app: Sphinx) -> None:
    """Write the page of messages from the schema before pages are read."""
    app.connect("builder-inited", lambda app: _write_messages(Path(app.srcdir) / "reference" / "messages.md"))


def _write_messages(path: Path) -> None:
    whole = document()["$defs"]
    parts = [
        "# Messages\n\nMade from the schema of this version. How they are used: [The protocol](../protocol.md).\n",
        "## From clients\n",
    ]
    for name, fields in MESSAGES.items():
        shown = {field: dict(each.schema) for field, each in fields.items()}
        parts.append(_message(name, "", shown, {f for f, each in fields.items() if not each.required}))
    parts.append("## From the server\n")
    for name, said in SAID.items():
        assert name in whole
        parts.append(_message(name, said.summary, dict(said.data), set(said.optional)))
    text = "\n".join(parts)
    # sphinx reads again what has changed
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _message(name: str, summary: str, fields: dict[str, dict[str, Any]], optional: set[str]) -> str:
    lines = [f"### `{name}`\n", f"{summary}\n"] if summary else [f"### `{name}`\n"]
    if not fields:
        return "\n".join([*lines, "No fields.\n"])
    lines += ["| field | type | |", "|---|---|---|"]
    for field, schema in fields.items():
        left_out = " (may be missing)" if field in optional else ""
        lines.append(f"| `{field}` | {_type(schema)} | {schema.get('description', '')}{left_out} |")
    return "\n".join([*lines, ""])


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        values = [f"`{value}`" for value in schema["enum"]]
        return ", ".join(values) if len(values) < 6 else f"one of {len(values)} names"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "oneOf" in schema:
        return " or ".join(_type(each) for each in schema["oneOf"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"array of {_type(schema.get('items', {}))}"
    if kind == "object" and schema.get("properties"):
        return "object: " + ", ".join(f"`{name}`" for name in schema["properties"])
    return " or ".join(kind) if isinstance(kind, list) else str(kind)

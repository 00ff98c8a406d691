"""Bring the file listing of ARCHITECTURE.md up to date: one line per module, from its docstring (`make golden`)."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("ir", "frontend", "passes", "backend", "runtime")
BEGIN, END = "<!-- listing: made by tools/listing.py -->", "<!-- end of listing -->"


def main() -> None:
    path = ROOT / "ARCHITECTURE.md"
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(before + BEGIN + "\n" + listing() + END + after, encoding="utf-8")


def listing() -> str:
    """Tables of modules, one for each folder."""
    facade = ROOT / "src" / "lampc"
    out = table("src/lampc", sorted(facade.glob("*.py")))
    tops = [i.parent for i in facade.glob("*/__init__.py") if not i.parent.is_symlink()]
    for init in sorted(i for top in tops for i in top.rglob("__init__.py")):
        out += table(str(init.parent.relative_to(ROOT)), sorted(init.parent.glob("*.py")))
    for folder in FOLDERS:
        groups: dict[Path, list[Path]] = {}
        for file in sorted((ROOT / folder).rglob("*.py")):
            groups.setdefault(file.parent, []).append(file)
        for place in sorted(groups):
            out += table(str(place.relative_to(ROOT)), groups[place])
    return out


def table(name: str, files: list[Path]) -> str:
    rows = [f"| `{f.relative_to(ROOT)}` | {duty(f)} |" for f in files]
    return f"\n**{name}/**\n\n| file | what it is |\n|---|---|\n" + "\n".join(rows) + "\n"


def duty(file: Path) -> str:
    """The first sentence or line of a module's docstring."""
    doc = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(doc.split("\n\n")[0].split())
    sentence = paragraph.split(". ")[0].rstrip(".:")
    return sentence.replace("|", "\\|")


if __name__ == "__main__":
    main()

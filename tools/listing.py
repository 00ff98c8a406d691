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
    for init in sorted(facade.glob("*/__init__.py")):
        if not init.parent.is_symlink():
            out += table(f"src/lampc/{init.parent.name}", sorted(init.parent.glob("*.py")))
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

"""Lines per file, those over budget marked: `make size`. Exit code 0 always: a long file asks to be split."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("ir", "frontend", "passes", "backend", "runtime", "src/lampc")
BUDGET = 400
PASS_BUDGET = 200


def main() -> None:
    total = 0
    for folder in FOLDERS:
        rows = []
        for path in sorted((ROOT / folder).rglob("*.py")):
            if folder == "src/lampc" and path.parent != ROOT / folder:
                continue  # the links
            lines = len(path.read_text(encoding="utf-8").splitlines())
            rows.append((lines, path.relative_to(ROOT)))
        subtotal = sum(lines for lines, _ in rows)
        total += subtotal
        print(f"{subtotal:7}  {folder}/")
        for lines, path in sorted(rows, reverse=True):
            budget = PASS_BUDGET if folder == "passes" else BUDGET
            mark = f"  over {budget}" if lines > budget else ""
            print(f"{lines:9}  {path}{mark}")
    tests = sum(len(p.read_text(encoding="utf-8").splitlines()) for p in (ROOT / "tests").rglob("*.py"))
    print(f"{total:7}  in all; tests beside it: {tests}")


if __name__ == "__main__":
    main()

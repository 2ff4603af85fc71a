"""The files that the checks of this folder look at: what git tracks, and what it would track."""
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
CPP = (".cpp", ".hpp")
HOSTILE = pathlib.PurePath("fixtures/hostile")


def tracked(root=ROOT, suffixes=None):
    """Every file of the tree that is not ignored, as sorted paths relative to `root`.

    `suffixes` keeps files ending so. Without git (a hand-out unpacked from an archive, a test's temporary
    tree) every file is taken, except below build/. With `suffixes` the hostile submissions are left out: that
    they keep no rule is their purpose.
    """
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    answer = subprocess.run(command, capture_output=True, check=False)
    if answer.returncode == 0:
        names = {name for name in answer.stdout.decode(errors="surrogateescape").split("\0") if name}
        paths = [pathlib.Path(name) for name in names if (root / name).is_file()]
    else:
        paths = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
        paths = [path for path in paths if path.parts[0] not in ("build", ".git")]
    if suffixes is None:
        return sorted(paths)
    return sorted(path for path in paths if path.suffix in suffixes and not path.is_relative_to(HOSTILE))

"""Run the Python of another environment."""

import os
import subprocess


def run(python, *arguments, folder=None):
    """Run Python outside the checkout, so that only what is installed can be imported."""
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    if folder is not None:
        variables["HF_HOME"] = str(folder / "hf_home")
    outcome = subprocess.run(
        [str(python), *map(str, arguments)],
        cwd=folder or "/",
        env=variables,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout

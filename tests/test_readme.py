"""README and docs: every command's flags exist, and what runs on small data runs there.

Each ```bash and ```python block is taken. A block that cannot run says so to the reader in the
line above it: `<!-- not run: reason -->`. Python blocks of one file share their names, in order.
What is only checked, because another test runs it or it measures speed, is in CHECKED_ONLY.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
import readme_data

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# In a command's words → why its flags are checked, but it is not run here.
CHECKED_ONLY = {
  r"sidrec\.bench\.": "measures speed; tests/bench",
  r"--seeds": "tests/run/test_seeds.py",
  r"--mode=sasrec|sasrec\.enabled": "tests/run/test_evaluate.py",
  r"--mode=cold_start": "tests/cold_start/test_measure.py",
  r"runs/kmeans": "a notebook does the same",
  r"--mode=update": "tests/update",
  r"setting=tiger": "tests/run/test_stages.py",
  r"mesh\.model": "tests/parallel/test_mesh.py",
  r"accumulate": "tests/training",
  r"--mode=export": "tests/export, tests/test_api_recommend.py",
  r"--mode=search_cost": "tests/report/test_beams.py",
  r"--profile": "tests/training/test_profile.py",
  r"sidrec\.data\.prepare|data\.source=store": "needs the extra 'beam'; tests/data/prepare",
  r"sidrec\.evaluation\.results": "tests/evaluation/test_results.py",
  r"generate_semantic_ids --config": "tests/test_generate_semantic_ids.py",
  r"configs/(beauty|sports)": "needs other data; as ml1m.py, which runs",
  r"configs/world": "needs a world; tests/bench/world runs a smaller one",
  r"train\.steps|\.py:tiny": "as the same command without",
  r"sidrec run custom --data\.path": "as README's python -m sidrec.main",
  r"\.py:timed": "tests/run/test_inputs.py trains such a model",
}
NOT_RUN = re.compile(r"<!-- not run: (.+) -->")


class Block(NamedTuple):
  """A fenced block that nobody marked as not run."""

  name: str  # file:line of its first line
  language: str
  text: str


class Command(NamedTuple):
  """One command of a bash block."""

  name: str  # file:line of its block
  words: list[str]

  @property
  def module(self):
    """What `python -m` runs, or None."""
    return self.words[2] if self.words[:2] == ["python", "-m"] else None


def blocks_of(text, name):
  """Fenced blocks of bash and Python."""
  lines, blocks = text.split("\n"), []
  for start, line in enumerate(lines):
    language = line.strip().removeprefix("```")
    if not line.strip().startswith("```") or language not in ("bash", "python"):
      continue
    stop = next(at for at in range(start + 1, len(lines)) if lines[at].strip() == "```")
    if start and NOT_RUN.fullmatch(lines[start - 1].strip()):
      continue
    blocks.append(Block(f"{name}:{start + 2}", language, "\n".join(lines[start + 1 : stop])))
  return blocks


def commands_of(block):
  """The commands of a bash block, comments and joined lines resolved."""
  commands = []
  for line in block.text.replace("\\\n", " ").split("\n"):
    words = shlex.split(line, comments=True)
    while words:
      stop = words.index("&&") if "&&" in words else len(words)
      command = ["python", "-m", *words[:stop]] if words[0] == "sidrec" else words[:stop]
      commands.append(Command(block.name, command))
      words = words[stop + 1 :]
  return commands


BLOCKS = [
  block
  for document in DOCUMENTS
  for block in blocks_of(document.read_text(encoding="utf-8"), str(document.relative_to(ROOT)))
]
COMMANDS = [c for block in BLOCKS if block.language == "bash" for c in commands_of(block)]
PYTHON_FILES = list(dict.fromkeys(b.name.split(":")[0] for b in BLOCKS if b.language == "python"))


def is_run(command):
  text = shlex.join(command.words)
  return command.module is not None and not any(re.search(x, text) for x in CHECKED_ONLY)


def python_of(file):
  """The Python of a file as one program, each line where it stands in the file."""
  lines = []
  for block in BLOCKS:
    if block.language == "python" and block.name.startswith(f"{file}:"):
      lines += [""] * (int(block.name.split(":")[1]) - 1 - len(lines)) + block.text.split("\n")
  return "\n".join(lines)


def work(jobs, folder, **environment):
  """Results of jobs; see `readme_worker.py`."""
  paths = [str(folder), str(ROOT), str(ROOT / "tests")]
  done = subprocess.run(
    [sys.executable, str(ROOT / "tests" / "readme_worker.py")],
    input=json.dumps(jobs),
    cwd=folder,
    env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment},
    capture_output=True,
    text=True,
    timeout=900,
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


def flags_of(command):
  """(module, flags) whose flags can be checked, or None, also for what works on a run."""
  if command.module == "sidrec" and ("configs" in command.words or "runs/" in command.words[4]):
    return None
  if command.module:
    return command.words[2:]
  if command.words[0].startswith("launch/"):
    return ["sidrec.main", *command.words[1:]]
  return None


@pytest.fixture(scope="module")
def checked():
  """Results of parsing each command's flags against the real configs."""
  jobs = [tuple(flags_of(command) or ()) for command in COMMANDS]
  once = [argv for argv in dict.fromkeys(jobs) if argv]
  results = work([{"do": "check", "argv": argv} for argv in once], ROOT)
  result_of = dict(zip(once, results, strict=True))
  return [result_of.get(argv) for argv in jobs]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
  """Results of all that runs: commands first, in the documents' order, then Python.

  A command that several documents name runs once, where the first one names it.
  """
  folder = tmp_path_factory.mktemp("readme")
  readme_data.make_folder(folder)
  jobs = {number: tuple(c.words[2:]) for number, c in enumerate(COMMANDS) if is_run(c)}
  once = list(dict.fromkeys(jobs.values()))
  work_on = [{"do": "run", "argv": argv} for argv in once]
  work_on.append({"do": "run", "codes": {file: python_of(file) for file in PYTHON_FILES}})
  *results, python = work(work_on, folder, JAX_NUM_CPU_DEVICES="1")
  result_of = dict(zip(once, results, strict=True))
  return {number: result_of[argv] for number, argv in jobs.items()} | {"python": python}


def named(numbers):
  return [
    pytest.param(n, id=f"{COMMANDS[n].name} {' '.join(COMMANDS[n].words[:4])}") for n in numbers
  ]


@pytest.mark.parametrize("number", named(range(len(COMMANDS))))
def test_commands_are_known(checked, number):
  """Module, flags, config file and settings exist; of other programs, what is theirs here."""
  command = COMMANDS[number]
  if checked[number] is not None:
    assert checked[number]["status"] == 0, checked[number]["output"]
  if command.words[0].startswith("launch/"):
    assert os.access(ROOT / command.words[0], os.X_OK)
  elif command.words[:2] == ["pip", "install"]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = re.findall(r"\[([\w,]+)\]", command.words[-1])
    assert all(set(e.split(",")) <= set(project["optional-dependencies"]) for e in extras)
  elif not command.module:
    assert command.words == ["pytest"], "mark the block: <!-- not run: reason -->"


@pytest.mark.parametrize("number", named(n for n, c in enumerate(COMMANDS) if is_run(c)))
def test_commands_run(ran, number):
  assert ran[number]["status"] == 0, ran[number]["output"]


@pytest.mark.parametrize("file", PYTHON_FILES)
def test_python_runs(ran, file):
  output = ran["python"]["output"]
  assert f"ran {file}" in output.split("\n"), output


def test_what_is_only_checked_is_needed():
  """No pattern of CHECKED_ONLY is left over."""
  texts = [shlex.join(command.words) for command in COMMANDS]
  for pattern in CHECKED_ONLY:
    assert any(re.search(pattern, text) for text in texts), pattern


LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([\w-]+))?\)")
LINKED = [*DOCUMENTS, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *ROOT.glob("launch/*.md")]


def anchors_of(page):
  """The anchors of a page's headings, as GitHub and mkdocs name them."""
  headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
  return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
  """Files and headings exist; mkdocs checks those of the site only."""
  for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
    file = (page.parent / target).resolve() if target else page
    assert file.exists(), target
    assert not anchor or anchor in anchors_of(file), f"{target}#{anchor}"


EXAMPLE = """
```bash
pip install x && python -m sidrec.main --config=a.py \\
  --history="A, B"  # comment
```
<!-- not run: no data -->
```bash
rm -rf /
```
```python
f(1)
```
"""


def test_blocks_are_found_and_marked_ones_left_out():
  bash, python = blocks_of(EXAMPLE, "a.md")
  assert (bash.name, python.text) == ("a.md:3", "f(1)")
  assert [command.words for command in commands_of(bash)] == [
    ["pip", "install", "x"],
    ["python", "-m", "sidrec.main", "--config=a.py", "--history=A, B"],
  ]

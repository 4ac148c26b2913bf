"""What to cite: every entry once, whole, and the words of the card, in a form that BibTeX reads."""

import shutil

from click.testing import CliRunner

from skyshards.cli import cite
from skyshards.cli.main import main

WORK = """@article{{{key},
  author = {{Some One}},
  title = {{{{Arms {{\\'a}} la carte}} and \\}} braces}},{doi}
}}"""


def entry(key, doi=None):
    return WORK.format(key=key, doi=f"\n  doi = {{{doi}}}," if doi else "")


def citation(name, *entries, words="Cite Some One.", simulated=False):
    return cite.Citation(name, simulated, words, entries)


def test_entries_are_whole():
    first, second = entry("one"), entry("two", "10.1/x")
    assert list(cite.bibtex_entries(f"% a comment\n\n{first}\n\nwords {{}} between\n{second}")) == [first, second]
    assert list(cite.bibtex_entries("nothing here")) == []


def test_a_work_is_listed_once_whatever_its_key():
    text = cite.bibliography(
        [citation("a", entry("one", "10.1/X")), citation("b", entry("other", "https://doi.org/10.1/x"), entry("two"))]
    )
    assert list(cite.bibtex_entries(text)) == [entry("one", "10.1/X"), entry("two")]


def test_one_key_for_two_works_is_told_apart():
    text = cite.bibliography([citation("a", entry("one", "10.1/x")), citation("b", entry("one", "10.1/y"))])
    assert "@article{one," in text and "@article{b:one," in text


def test_words_are_comments_that_open_no_entry():
    text = cite.bibliography([citation("a", entry("one"), words="Write to someone@example.org.\n\nThanks.")])
    before = text.partition("@article")[0]
    assert all(line.startswith("%") for line in before.splitlines() if line)
    assert "@" not in before and "Thanks." in before


def test_simulated_copies_say_so():
    assert "simulated" in cite.bibliography([citation("a", simulated=True)])


def test_how_to_cite_is_a_section_of_the_card():
    assert cite.how_to_cite("# A\n\n## How to cite\n\nWords.\n\n### More\n\n## Licence\n\nx") == "Words.\n\n### More"
    assert cite.how_to_cite("# A\n") == ""


def test_command_on_a_built_data_set(built_gz3d, tmp_path):
    outcome = CliRunner().invoke(main, ["cite", str(built_gz3d), str(built_gz3d)])
    assert outcome.exit_code == 0, outcome.output
    found = list(cite.bibtex_entries(outcome.output))
    assert found == list(cite.bibtex_entries((built_gz3d / "CITATION.bib").read_text())) != []
    assert "Masters et al. (2021)" in outcome.output.replace("\n% ", " ")


def test_command_says_what_is_wrong(built_gz3d, tmp_path):
    outcome = CliRunner().invoke(main, ["cite", str(tmp_path)])
    assert outcome.exit_code == 1 and "not a built dataset" in outcome.output
    folder = shutil.copytree(built_gz3d, tmp_path / "copy")
    (folder / "CITATION.bib").unlink()
    outcome = CliRunner().invoke(main, ["cite", str(folder)])
    assert outcome.exit_code == 1 and "CITATION.bib: cannot be read" in outcome.output

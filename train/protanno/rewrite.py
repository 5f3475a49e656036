"""Have a language model describe GO terms in other words, into a file that training reads.

    OPENAI_API_KEY=... python -m train.protanno.rewrite --release go-basic.obo \
        --base-url https://HOST/v1 --model NAME --out rewrites.jsonl [--number 3] [--terms ids.txt]

Any server that speaks OpenAI's protocol will do: vLLM, llama.cpp, Ollama (http://localhost:11434/v1),
LM Studio, or a service. The key is read from OPENAI_API_KEY and from nowhere else; a server on
this machine needs none. Needs the extra llm: pip install 'protclip[llm]'.

OUT is JSON Lines: term_id, text, and how it was made (release, model, sha256 of the prompt,
temperature, seed). A text that is empty, too long or names another GO id is not taken, and the term
is asked for again, with the next seed. Every answer is written at once: after Ctrl-C, kill -9 or a
failure, the same command asks for what is missing and for nothing else. A question is the same if
release, term, prompt and model are. Nothing is ever asked while a model trains: training reads OUT,
as [text.augment] rewrites of its configuration.

Exit codes: 0 done; 2 usage; 3 OUT or --terms cannot be used; 4 the release, or the server refuses
or is silent; 5 disk; 6 done, but some terms have no text and are listed; 7 another run writes OUT;
130 and 143 Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from protclip_cli.boundary import EXIT_PARTIAL, say
from protclip_cli.progress import make_progress
from protclip_core.errors import InputError, UsageError
from protclip_core.io.atomic import check_writable_target, file_lock
from protclip_core.records import counted
from train.loop.terminal import guarded, log_to_terminal
from train.protanno.augment.answers import Answers
from train.protanno.augment.asking import Asked, ask_all
from train.protanno.augment.endpoint import Endpoint, key_from_environment
from train.protanno.augment.prompts import Prompts
from train.protanno.augment.release import Release, Term, read_release

__all__ = ["main"]

_KEPT = "answers so far are kept, continue with the same command"
_FAILED_SHOWN = 5
#: Tokens of an answer for each word that a text may have, JSON around it counted.
_TOKENS_A_WORD = 4


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, ask for what is missing, and return the exit code."""
    args = _parser().parse_args(argv)
    log_to_terminal()
    return guarded(lambda: _run(args), kept=_KEPT)


def _run(args: argparse.Namespace) -> int:
    _check(args)
    base_url = args.base_url or os.environ.get("OPENAI_BASE_URL", "")
    if not base_url:
        raise UsageError(
            "no server to ask", code="usage.missing_option", where="--base-url", hint="give it"
        )
    key = key_from_environment(base_url)
    check_writable_target(args.out)
    release = read_release(args.release, scopes=args.synonyms)
    terms = _terms(release, args.terms, args.limit)
    prompts = Prompts(release, number=args.number, words=args.words, template=args.prompt)
    endpoint = Endpoint(
        base_url,
        args.model,
        key,
        temperature=args.temperature,
        timeout=args.timeout,
        retries=args.retries,
        most_tokens=args.number * args.words * _TOKENS_A_WORD,
    )
    progress = make_progress(quiet=False)
    with file_lock(args.out), Answers(args.out) as answers:
        progress.start("asking", len(terms), "terms")
        try:
            asked = ask_all(
                terms,
                prompts,
                endpoint,
                answers,
                seed=args.seed,
                tries=args.tries,
                at_once=args.concurrency,
                progress=progress,
            )
        finally:
            progress.finish()
        say(f"{args.out}: {counted(answers.texts, 'text')}; {_summary(asked)}")
    return _listed(asked)


def _summary(asked: Asked) -> str:
    known, new = counted(asked.known, "term"), counted(asked.answered, "term")
    return f"{new} answered now, {known} before"


def _listed(asked: Asked) -> int:
    if not asked.failed:
        return 0
    for id, reason in list(asked.failed.items())[:_FAILED_SHOWN]:
        say(f"warning: {id}: {reason}")
    number = len(asked.failed)
    say(f"warning: {counted(number, 'term')} without a text; the same command asks again")
    return EXIT_PARTIAL


def _terms(release: Release, listed: Path | None, limit: int | None) -> list[Term]:
    """Return the terms to ask for: those of a list, or all but the roots."""
    if listed is None:
        found = [term for term in release.terms.values() if not term.is_root]
        return found[:limit]
    try:
        lines = listed.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(
            "cannot be read", code="usage.no_such_file", where=str(listed), hint="check --terms"
        ) from error
    found = []
    for number, line in enumerate(lines, start=1):
        id = line.split("\t")[0].strip()
        if not id or id.startswith("#"):
            continue
        status = release.status(id)
        if status != "active":
            raise InputError(
                f"{id[:40]!r} is {status} in the release {release.name}".rstrip(),
                code="input.unknown_term",
                where=f"{listed}:line {number}",
                hint="list ids of active terms, one a line",
            )
        found.append(release.terms[id])
    return list(dict.fromkeys(found))[:limit]


def _check(args: argparse.Namespace) -> None:
    for option, least in (("number", 1), ("words", 5), ("concurrency", 1), ("tries", 1)):
        _at_least(args, option, least)
    for option in ("retries", "temperature", "seed"):
        _at_least(args, option, 0)
    if args.limit is not None:
        _at_least(args, "limit", 1)
    if not args.timeout > 0:
        raise UsageError("must be above 0", code="usage.bad_value", where="--timeout")


def _at_least(args: argparse.Namespace, option: str, least: float) -> None:
    value = getattr(args, option)
    if not value >= least:
        raise UsageError(
            f"must be {least} or more, got {value}", code="usage.bad_value", where=f"--{option}"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.protanno.rewrite",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--release", required=True, type=Path, help="release of GO: OBO, or a table of terms")
    add("--synonyms", type=Path, help="release that tells the scope of synonyms, for such a table")
    add("--out", required=True, type=Path, help="file of texts, JSON Lines; continued if there")
    add("--model", required=True, help="name of the model on the server")
    add("--base-url", metavar="URL", help="server, up to /v1 (default: OPENAI_BASE_URL)")
    add("--terms", type=Path, metavar="FILE", help="ids to ask for, one a line (default: all)")
    add("--limit", type=int, metavar="N", help="the first N terms alone")
    add("--number", type=int, default=3, help="texts of a term (default 3)")
    add("--words", type=int, default=40, help="words of a text at most (default 40)")
    add("--prompt", type=Path, metavar="FILE", help="another prompt; {name}, {definition}, …")
    add("--temperature", type=float, default=0.8, help="of the answers (default 0.8)")
    add("--seed", type=int, default=0, help="sent with every question (default 0)")
    add("--concurrency", type=int, default=4, metavar="N", help="questions at a time (default 4)")
    add("--tries", type=int, default=3, help="questions per term for good texts (default 3)")
    add("--retries", type=int, default=4, help="tries when the server is busy or down (default 4)")
    add("--timeout", type=float, default=60, metavar="S", help="seconds for one try (default 60)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

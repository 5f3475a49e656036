"""Asking for texts of many terms at once: bounded, in any order, each question once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from protclip_core.errors import ModelError
from protclip_core.progress import Progress
from train.protanno.augment.answers import Answers, Key
from train.protanno.augment.endpoint import BadAnswerError, Endpoint, EndpointError
from train.protanno.augment.prompts import Prompts, texts_of_answer
from train.protanno.augment.release import Term

__all__ = ["Asked", "ask_all"]

#: Questions in a row that the server does not answer before the run ends.
_GIVE_UP = 5


@dataclass
class Asked:
    """What a run did.

    Attributes
    ----------
    known, answered
        Terms with an answer from before, and from this run.
    failed
        Id of a term without an answer to the reason.
    """

    known: int = 0
    answered: int = 0
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Reply:
    texts: list[str]
    seed: int
    reason: str
    #: Whether the server itself was the reason.
    silent: bool = False


def ask_all(
    terms: Sequence[Term],
    prompts: Prompts,
    endpoint: Endpoint,
    answers: Answers,
    *,
    seed: int,
    tries: int,
    at_once: int,
    progress: Progress,
) -> Asked:
    """Ask for texts of all terms that have no answer yet, and write what comes.

    Parameters
    ----------
    terms
        In the order of asking.
    prompts, endpoint, answers
        The questions, whom to ask, and the file.
    seed
        Sent with the first question of a term; a further try has the next number.
    tries
        Questions per term at most, where the answer cannot be used or has too few texts.
    at_once
        Questions under way at a time.
    progress
        Counts terms.

    Raises
    ------
    ModelError
        The server refuses, or did not answer five questions in a row.
    """
    asked = Asked()
    waiting = _missing(terms, prompts, endpoint, answers, asked, progress)
    silent = 0
    with ThreadPoolExecutor(at_once) as pool:
        running: dict[Future[_Reply], tuple[Key, Term]] = {}
        try:
            while True:
                for key, term in itertools.islice(waiting, at_once - len(running)):
                    work = pool.submit(_ask, term, prompts, endpoint, seed, tries)
                    running[work] = key, term
                if not running:
                    return asked
                for work in wait(running, return_when=FIRST_COMPLETED).done:
                    key, term = running.pop(work)
                    reply = work.result()
                    silent = silent + 1 if reply.silent else 0
                    _keep(reply, key, endpoint, answers, asked)
                    progress.advance(1)
                if silent >= _GIVE_UP:
                    raise ModelError(
                        f"{silent} questions in a row were not answered: {reply.reason}",
                        code="model.no_network",
                        where="--base-url",
                        hint="answers so far are kept; give the same command when it answers again",
                    )
        finally:
            for work in running:
                work.cancel()
            if running:  # the run ends early: nobody waits for what the server is still writing
                endpoint.close()


def _missing(
    terms: Sequence[Term],
    prompts: Prompts,
    endpoint: Endpoint,
    answers: Answers,
    asked: Asked,
    progress: Progress,
) -> Iterator[tuple[Key, Term]]:
    for term in terms:
        key = prompts.release.name, term.id, prompts.digest(term), endpoint.model
        if key in answers.done:
            asked.known += 1
            progress.advance(1)
        else:
            yield key, term


def _ask(term: Term, prompts: Prompts, endpoint: Endpoint, seed: int, tries: int) -> _Reply:
    """Ask until there are texts enough; what was good of earlier answers counts."""
    texts: dict[str, None] = {}
    reason = ""
    for number in range(tries):
        try:
            answer = endpoint.ask(prompts.of(term), seed + number)
        except EndpointError as error:
            return _Reply(list(texts), seed + number, str(error), silent=True)
        except BadAnswerError as error:
            reason = str(error)
            continue
        found, reason = texts_of_answer(answer, term, prompts.release, most=prompts.words)
        texts.update(dict.fromkeys(found))
        if len(texts) >= prompts.number:
            break
    return _Reply(list(texts)[: prompts.number], seed + number, reason)


def _keep(reply: _Reply, key: Key, endpoint: Endpoint, answers: Answers, asked: Asked) -> None:
    if not reply.texts:
        asked.failed[key[1]] = reply.reason
        return
    facts = {"temperature": endpoint.temperature, "seed": reply.seed}
    answers.add(key, reply.texts, facts)
    asked.answered += 1

"""One question to a server that speaks OpenAI's protocol: vLLM, llama.cpp, Ollama and others."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from protclip_core.errors import ModelError, UsageError

__all__ = ["BadAnswerError", "Endpoint", "EndpointError", "key_from_environment"]

#: Variable of the environment that holds the key; there is no other way to give one.
KEY_VARIABLE = "OPENAI_API_KEY"
_SHOWN = 200
#: What the server says of who asks, or of what does not exist: asking again does not help.
_HOPELESS = (401, 403, 404)


class EndpointError(Exception):
    """The server could not answer one question, whatever the number of tries."""


class BadAnswerError(Exception):
    """The server answered with something that is not a chat completion."""


def key_from_environment(base_url: str) -> str:
    """Return the key; a server on this machine needs none.

    Raises
    ------
    UsageError
        There is none, or the address is no address of a server, or holds a password.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"{base_url!r} is not the address of a server",
            code="usage.bad_value",
            where="--base-url",
            hint="give http://HOST:PORT/v1",
        )
    if parts.password or parts.username:
        raise UsageError(
            "holds a name or password",
            code="usage.credentials_in_url",
            where="--base-url",
            hint=f"give the key in {KEY_VARIABLE}",
        )
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise UsageError(
            f"{KEY_VARIABLE} is not set",
            code="usage.no_api_key",
            where="--base-url",
            hint=f"set it to the key of {parts.hostname}, or to any word if it wants none",
        )
    return key or "none"


class Endpoint:
    """A model behind a server.

    Parameters
    ----------
    base_url, model, key
        Address up to ``/v1``, name of the model there, and the key.
    temperature
        Of the answers.
    timeout
        Seconds for one try.
    retries
        Tries beside the first, when the server is busy (429), fails (5xx) or does not answer;
        the pause doubles, or is what the server asks for.
    most_tokens
        Of an answer.

    Raises
    ------
    UsageError
        The package ``openai`` is not installed.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        key: str,
        *,
        temperature: float,
        timeout: float,
        retries: int,
        most_tokens: int,
    ) -> None:
        try:
            import openai
        except ImportError as error:
            raise UsageError(
                "needs the package openai",
                code="usage.missing_library",
                where="train.protanno.rewrite",
                hint="pip install 'protclip[llm]'",
            ) from error
        self._errors: Any = openai
        self._key, self._where = key, base_url
        self.model, self.temperature, self.most_tokens = model, temperature, most_tokens
        self._client = openai.OpenAI(
            api_key=key, base_url=base_url, timeout=timeout, max_retries=retries
        )

    def ask(self, prompt: str, seed: int) -> str:
        """Return the text of an answer.

        Raises
        ------
        ModelError
            The server refuses whoever asks, or does not know the model.
        EndpointError
            It did not answer this question, after all tries.
        BadAnswerError
            What came is not a chat completion.
        """
        errors = self._errors
        try:
            found = self._client.chat.completions.create(
                model=self.model,
                messages=[{"role": "user", "content": prompt}],
                temperature=self.temperature,
                max_tokens=self.most_tokens,
                seed=seed,
            )
        except errors.APIStatusError as error:
            said = self._shown(error)
            if error.status_code in _HOPELESS:
                raise ModelError(
                    f"the server refuses ({error.status_code}): {said}",
                    code="model.endpoint_refused",
                    where=self._where,
                    hint=f"check --base-url, --model and {KEY_VARIABLE}",
                ) from None
            raise EndpointError(f"status {error.status_code}: {said}") from None
        except errors.APIResponseValidationError as error:
            raise BadAnswerError(self._shown(error)) from None
        except errors.APITimeoutError:
            raise EndpointError("no answer in time") from None
        except errors.APIConnectionError as error:
            raise EndpointError(
                f"cannot be reached ({self._shown(error.__cause__ or error)})"
            ) from None
        except ValueError as error:
            raise BadAnswerError(f"not JSON ({self._shown(error)})") from None
        return _content(found)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _shown(self, error: BaseException) -> str:
        """Return what an error says, on one line, without the key."""
        text = " ".join(str(error).split())[:_SHOWN]
        return text.replace(self._key, "***") if self._key != "none" else text


def _content(found: Any) -> str:
    choices = getattr(found, "choices", None)
    message = (
        getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None
    )
    content = getattr(message, "content", None)
    if not isinstance(content, str):
        raise BadAnswerError("not a chat completion")
    return content

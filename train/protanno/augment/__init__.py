"""Descriptions of GO terms in many wordings: composed from a release of GO, or a user's own.

`read_release` reads what a release says of its terms, `TermComposer` says it in other words,
`ProteinTexts` puts a protein's text together, and `read_rewrites` checks a file of texts that a
language model wrote (``python -m train.protanno.rewrite`` has one written). `wordings_of` opens
what a configuration asks for.
"""

"""Bizgo in the sandbox: ``dialect.py`` sends, tells and reports, ``rules.py`` judges requests, ``center.py`` keeps."""

"""Write reports: text, JSON, NDJSON, CSV, HTML. Every writer takes an immutable value and a text stream.

Streams for text and HTML must accept any printable character: UTF-8, or an error handler such as ``backslashreplace``.
JSON and NDJSON are ASCII; CSV is UTF-8.
"""

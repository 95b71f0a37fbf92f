"""Every JSON document that fimscan prints, built as plain dictionaries. One module for each kind.

The shape of each document is fixed by the JSON Schema of its name in ``fimscan/report/schemas``.
"""

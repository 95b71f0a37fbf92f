"""Build every JSON document that fimscan prints, as plain dictionaries; one module for each kind.

The shape of each document is fixed by the JSON Schema of its name in ``fimscan/report/schemas``.
"""

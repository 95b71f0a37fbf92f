"""What the report of a bundle says to an assessor: observations from its tables, arranged by requirement.

Data flows one way: tables -> ``observers`` -> ``document`` (with ``mapping``) -> ``html`` ->
``html_reader`` -> ``pdf``.
"""

"""The data, script and style of the HTML page.

``rows.py`` has a few columns of every change, ``evidence.py`` everything that is known of the most urgent ones.
``page.html.j2``, ``page.css`` and ``page.js`` are put together by :mod:`fimscan.report.html`.
"""

"""Messages -> receivers: documents of what scans found, in the formats of SIEMs, sent by files, syslog, HTTP and mail.

    documents   what a scan found -> messages, one for each change set or scan        <- open first
    formats/    a message -> text, ECS, OCSF, CEF, ... Pure
    receivers/  bytes -> a file, a program, syslog, the journal, a webhook, a mail server

A message is made once, and stored (:mod:`fimscan.store.outbox`). It is formatted whenever it is sent.
"""

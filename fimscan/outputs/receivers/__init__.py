"""Send bytes to a file, a program, syslog, the journal, a web server or a mail server. No module knows the store."""

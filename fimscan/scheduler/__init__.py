"""Run scans and audit reading on their schedules, until stopped.

timetables (:mod:`fimscan.timing`) + what was last done (the database)
-> jobs      what is due, and what was missed
-> trigger   the same for APScheduler, which calls
-> run       the scheduler: one job at a time, live looks between them
service      what systemd is told
"""

from fimscan.scheduler.run import Control, Past, Scheduler
from fimscan.scheduler.service import ServiceManager
from fimscan.scheduler.trigger import trigger_of

__all__ = ["Control", "Past", "Scheduler", "ServiceManager", "trigger_of"]

"""Tests for tasks, also for those of other packages: `check_task(MyTask)` raises `AssertionError` if one fails."""

from pseudolabel.testing.checks import check_task as check_task

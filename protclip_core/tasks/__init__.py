"""What the commands do: a folder for each command, and beside them what several share.

A folder's ``task`` holds what the command itself calls; where a command has several of its own
(``fit``, ``predict``, ``evaluate``), each has its module.
"""

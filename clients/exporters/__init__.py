"""What a run leaves for other programs: tables, ELAN, captions, a report; and corrections read back.

Every format is a function ``Run → text``; :mod:`clients.exporters.formats` names them.
"""

"""What a run leaves for other programs: tables, ELAN, captions, a report; and corrections read back.

Every format is a function ``Run → text``; :mod:`mellm.engine.export.formats` names them.
"""

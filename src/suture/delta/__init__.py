"""What a fix changed in one translation unit: functions, data, types, register use; and whether it is safe to apply
live."""

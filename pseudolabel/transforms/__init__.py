"""Methods: functions on arrays, and the models they fit, load and save; no readers, output folders or workers."""

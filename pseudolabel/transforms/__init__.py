"""The methods: functions on arrays, and what they learn, load and save. No reader, no output folder, no worker."""

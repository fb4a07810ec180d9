"""Functions on arrays, and the models that they fit, load and save. They open no source and write no output folder."""

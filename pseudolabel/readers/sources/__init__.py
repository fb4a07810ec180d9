"""Where files lie and how they are opened: folders, lists, archives, tables, stores."""

"""Find and open source files: in folders, lists, archives, tables and stores."""

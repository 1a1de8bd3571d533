"""What the records say, in sentences and tables, for the pages and the README: nobody types a number into prose."""

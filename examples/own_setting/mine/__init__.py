"""A setting and a method of one's own, in a package beside `headwater/`."""

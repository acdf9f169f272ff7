"""The words of the specifications: values only, no I/O."""

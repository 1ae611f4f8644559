"""The variational goal generator: instructions from paths, relabelling and rephrasing."""

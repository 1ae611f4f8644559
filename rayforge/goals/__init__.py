"""The variational goal generator: sentences from paths, relabelling and rephrasing."""

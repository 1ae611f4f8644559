"""What a person looks at: plots, tables, the HTML report and the episode viewer."""

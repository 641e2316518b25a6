"""From syntax trees to the graph IR: names, static evaluation, instantiation, shapes."""

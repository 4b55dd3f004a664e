"""What happens while a graph runs: the machine decides, the scheduler plugin carries out."""

"""Pictures of rows, from NumPy arrays with Pillow alone: what is drawn of which columns.

It knows columns and values, but no tables. Tables have the drawing of their rows as `table.drawing`.
"""

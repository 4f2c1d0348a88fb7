"""What is made from video alone: depth, normals, frames, cuts, features of points; whole folders, resumed after any kill."""

"""Derive data from videos: depth, normals, flow, frames, cuts and point features; whole folders, resumable after a kill."""

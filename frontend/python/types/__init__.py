"""Types that stand in prompts as more than their JSON: images, audio, files, code, conversations, calls of tools."""

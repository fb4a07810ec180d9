"""Operations on video clip arrays."""

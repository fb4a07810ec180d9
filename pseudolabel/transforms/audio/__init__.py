"""Operations on audio arrays."""

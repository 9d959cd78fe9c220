"""What workflows run: releases, deliveries to an environment, the state that is kept between runs, the locks."""
